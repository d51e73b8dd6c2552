"""Explanations of misclassified images by the evidence in the image and in the network."""
