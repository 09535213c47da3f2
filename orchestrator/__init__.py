"""Orchestrator: experiment files become plans of artifacts, and Ray makes the ones that are missing.

``config`` reads and checks the YAML, ``planning`` turns it into content-keyed ``artifacts``, ``execution`` lets Ray
make them, ``console`` shows it, ``sweep`` is the command.
"""
