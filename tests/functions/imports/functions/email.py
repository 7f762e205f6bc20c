from email.message import Message


def handle(event):
    return {"message": Message.__name__}
