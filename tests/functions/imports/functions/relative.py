from functions.shared.constants import ANSWER

from .shared.constants import ANSWER as SAME


def handle(event):
    assert ANSWER is SAME
    return {"answer": ANSWER}
