"""Docker Engine: containers, networks, volumes, images."""
