def boom():
    raise RuntimeError("at import")
