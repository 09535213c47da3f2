"""Console: what people see of a sweep while it runs, before it starts and when it ends."""
