def handle(event)
    return 1
