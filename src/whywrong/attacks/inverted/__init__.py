"""The inverted adversarial attack: the smallest change that turns a misclassified image right."""
