"""What the report shows of ``patch_groups``."""
