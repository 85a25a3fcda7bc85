"""Any key of the configuration with an odd value: it is accepted, or refused in one line; never a traceback."""

from typing import Any

import pytest
from conftest import REPO
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from aeprobe.cli.failures import one_line
from aeprobe.config.checks import validate
from aeprobe.config.schema import keys

ODD = """-1|0|1|1.5|1e-320|1e400|nan|inf|-inf|.nan|2147483648|18446744073709551616|0x10|1_000|null|true|yes|~|''|' '|[]|{}
[[]]|[null]|[a,b]|[784,-1,30]|[0.9,0.999]|{a:1}|{_target_:os.system}|{_target_:torch.optim.Adam}|a b|a=b|x[1]|'a|a'b
\\|a\\,b|1,2|range(1,3)|glob(*)|int(a)|${seed}|${nowhere}|${|${oc.env:NOWHERE}|${aeprobe.sweep_name:/}|${trainer}|???
${oc.create:{a:1}}|ä,ö|\u202e|/dev/null|./.|auto|cpu|16-mixed|advanced|torch.optim.LBFGS|os.system|val/loss|test/loss
classifier val/accuracy|all|test|classifier|00:00:01:00""".replace("\n", "|").split("|")
LONG = ["x" * 5000, "9" * 5000, "[" * 300, "a\nb"]
VALUES = st.one_of(
    st.sampled_from([*ODD, *LONG]), st.integers().map(str), st.floats().map(str), st.text(max_size=20)
)
NAMES = [
    *(key for key, _ in keys()),
    "autoencoder.optimizer.lr",
    "classifier.scheduler.interval",
    "autoencoder.new",
]


@pytest.mark.slow
@given(key=st.sampled_from(NAMES), value=VALUES, prefix=st.sampled_from(["", "", "", "+", "++", "~"]))
def test_a_configuration_is_accepted_or_refused_in_one_line(key: str, value: str, prefix: str) -> None:
    typed: list[Any] = [f"{prefix}{key}={value}"]
    try:
        with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
            validate(compose("config", overrides=typed), typed)
    except Exception as error:
        line = one_line(error)
        assert line
        assert "\n" not in line
        assert "unexpected" not in line
