"""A simulation of faults: the orchestrator's own code on simulated processes, clock, disk and Ray, driven by a seed."""
