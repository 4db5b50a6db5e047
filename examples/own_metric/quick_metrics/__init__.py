"""Metrics for sweeps; a function named by its place is imported when something is measured by it."""

import resnet_factory as rf

INTENSITY = rf.OwnMetric(
    function="quick_metrics.of_plans:intensity", unit="MACs per number", direction="max", needs="plan"
)
GRAD_NORM = rf.OwnMetric(function="quick_metrics.of_networks:grad_norm", direction="max", needs="network")
START_LOSS = rf.OwnMetric(function="quick_metrics.of_networks:start_loss", unit="nats", needs="data")
