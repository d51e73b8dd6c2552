"""Train networks of the package on labelled images, with checkpoints from which training resumes."""
