"""What came of one event and of all it caused: told by whoever settles, put together by whoever follows. Pure."""
