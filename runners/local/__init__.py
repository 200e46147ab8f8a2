"""What `make demo` and the tests need on one machine without internet."""
