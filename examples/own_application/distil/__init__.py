"""Distillation: a student network learns from the outputs of a teacher."""
