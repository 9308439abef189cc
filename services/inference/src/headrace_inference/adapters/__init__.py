"""Models, catalogue and tables behind the ports."""
