import logging

print("while importing")
logging.info("at import")


def handle(event):
    pass
