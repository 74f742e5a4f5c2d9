"""What is printed while trials run, for the library and the command line alike."""
