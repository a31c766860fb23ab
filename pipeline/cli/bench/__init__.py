"""`opinionwatch bench engine|flow|detector`: figures side by side in one run."""

from pipeline.cli.bench.detector import detector
from pipeline.cli.bench.engine import engine
from pipeline.cli.bench.flow import flow
from pipeline.cli.groups import group

app = group("Measure the engine, the flow and the alert rule: ratios and medians from one run.")
app.command()(flow)
app.command()(engine)
app.command()(detector)
