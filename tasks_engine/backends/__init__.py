"""What runs steps: implementations of the ports."""
