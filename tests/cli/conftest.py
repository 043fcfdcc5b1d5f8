from tests.running_bushel import running

__all__ = ["running"]
