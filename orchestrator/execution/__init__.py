"""Execution: Ray makes the artifacts that are missing; Tune schedules trainings, a pool of actors does the rest."""
