"""What pages talk to: QtCore objects that know both the engine and the database."""
