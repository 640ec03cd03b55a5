"""How a plan is shown to people."""

from goldsmith.core.plan import BuildPlan, PlannedStep
from goldsmith.ui.plan import render_plans

HIT = PlannedStep(name="bootstrap", label="Bootstrapping", state="hit", reason="inputs unchanged",
                  predicted_s=0.0)  # fmt: skip
MISS = PlannedStep(name="provisioner-1", label="Provisioning", state="miss",
                   reason="file setup.sh changed", predicted_s=4.0)  # fmt: skip


def test_each_step_has_its_reason_and_its_time():
    shown = render_plans([BuildPlan(build="image.a", steps=(HIT, MISS), writes=("/o/a.raw",),
                                    notes=("look out",), disk_free_bytes=1 << 30)])  # fmt: skip
    lines = shown.splitlines()
    assert lines[0] == "image.a:"
    assert lines[1].split() == ["kept", "bootstrap", "Bootstrapping"]
    assert lines[2].strip() == "inputs unchanged"
    assert lines[3].split() == ["runs", "provisioner-1", "Provisioning"]
    assert lines[4].strip().startswith("file setup.sh changed (took 4")
    assert "  note: look out" in lines
    assert any(line.strip().startswith("1 of 2 steps run, in about 4") for line in lines)
    assert "  writes /o/a.raw" in lines


def test_nothing_to_do():
    assert "Nothing is to do." in render_plans([BuildPlan(build="image.a", steps=(HIT,))])


def test_a_disk_that_is_too_small_is_told():
    plan = BuildPlan(build="a", steps=(MISS,), disk_needed_bytes=2 << 30, disk_free_bytes=1 << 30)
    assert "not enough" in render_plans([plan])
    assert render_plans([plan, plan]).count("a:\n") == 2
