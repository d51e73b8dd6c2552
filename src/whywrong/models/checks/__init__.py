"""The health probe: is the model connected to the images and labels as it should be?"""
