"""How it is run: experiment files become plans of artifacts, and Ray makes the ones that are missing.

``experiment`` reads and checks the YAML, ``plan`` turns it into content-keyed artifacts, ``store`` keeps them,
``stages`` makes one, ``schedule`` and ``pool`` let Ray make many, ``sweep`` is the command.
"""
