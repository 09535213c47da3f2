"""Experiment files: read with the line of every value, checked, and expanded into the cells of their grid."""
