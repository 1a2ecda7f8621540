"""Files of trained models that others wrote, and the run folders made of them."""
