"""Every span, attribute and metric by name, and what sends them."""
