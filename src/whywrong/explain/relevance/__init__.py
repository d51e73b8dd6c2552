"""Layer-wise relevance propagation for CNNs and transformers, and the contrast of two classes."""

from whywrong.explain.relevance.config import RelevanceConfig
from whywrong.explain.relevance.method import relevance
from whywrong.explain.relevance.result import RelevanceResult

__all__ = ["RelevanceConfig", "RelevanceResult", "relevance"]
