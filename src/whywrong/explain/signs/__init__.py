"""Signs of an error: what its pixels, its scores, and the answers to small changes look like.

Signs are raw numbers. What is unusual shows only beside correctly classified images of the same model, which play the
part of an error with their runner-up as the label.
"""

from whywrong.explain.signs.listing import SIGNS
from whywrong.explain.signs.method import SignsConfig, signs
from whywrong.explain.signs.result import SignsResult, sign_matrix
from whywrong.explain.signs.sign import STAGES, Sign, absent

__all__ = ["SIGNS", "STAGES", "Sign", "SignsConfig", "SignsResult", "absent", "sign_matrix", "signs"]
