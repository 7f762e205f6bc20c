from .deep import boom

boom()


def handle(event):
    pass
