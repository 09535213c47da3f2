"""Planning: from the cells of an experiment to artifacts and runs, and how long they will take."""
