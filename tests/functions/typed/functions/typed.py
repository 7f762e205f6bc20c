from dataclasses import dataclass
from typing import TypedDict

from pydantic import BaseModel


@dataclass
class Reading:
    celsius: float
    station: str = "north"


class Spot(TypedDict):
    celsius: float


class Model(BaseModel):
    celsius: float


def reading(reading: Reading):
    return {"celsius": reading.celsius, "kind": type(reading).__name__}


def spot(spot: Spot):
    return {"celsius": spot["celsius"]}


def model(model: Model):
    return model
