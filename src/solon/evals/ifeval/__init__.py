"""The 25 checks of IFEval (Zhou et al. 2023) and what they need: counting sentences and words, telling languages apart."""
