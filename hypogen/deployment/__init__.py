"""Policies to use outside a training: loaded, acting, written as ONNX or safetensors, filmed.

============  ==================================================================
loading       a trained generator, or experts, by the name that a person gives
policies      the policy of one spec, ready to act, and what makes such policies
limits        specs as people write them, and those that are refused
onnx_graphs   the same policies and generators as ONNX graphs
rendering     pictures of an episode while a policy acts
films         several episodes side by side: mp4, or a strip of frames
============  ==================================================================
"""

from hypogen.deployment.lookup import load
from hypogen.deployment.policies import KnownPolicies, SpecPolicy, Trained, TrainedGenerator

__all__ = ["KnownPolicies", "SpecPolicy", "Trained", "TrainedGenerator", "load"]
