"""Loading of an application by ``module:attribute``."""

import pytest
from cli_support import command_line

from stem_amqp.cli.load import load
from stem_amqp.cli.options import Overrides
from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.locate import find

SHOP = """
    from stem_amqp import Stem
    stem = Stem(broker_url="memory://shop")
    number = 5
    @stem.task("orders.sync", queue="orders")
    async def sync(order_id: str) -> str:
        return order_id
"""


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory with a module ``shop``."""
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write("shop.py", SHOP)
        yield cli


def test_the_current_directory_is_searched(cli):
    """An installed command finds the same modules as ``python -m``."""
    assert [task.name for task in find("shop:stem").registry] == ["orders.sync"]


def test_an_attribute_may_have_dots(cli):
    """The application may be an attribute of a class."""
    cli.write("boxed.py", "from stem_amqp import Stem\nclass Box:\n    stem = Stem()\n")
    assert find("boxed:Box.stem").settings.namespace == "stem"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("shop", "shop names no attribute.\n  Write shop:stem."),
        ("shop:", "Write shop:stem."),
        ("shop.py:stem", "Write shop:stem"),
        ("src/shop/__init__.py:app", "Write src.shop:app"),
        ("sh op:stem", "Write it as module:attribute"),
        (":stem", "Write it as module:attribute"),
        ("shap:stem", "there is no module shap in .*; did you mean shop?"),
        ("nothing.like.it:stem", "there is no module nothing"),
        ("shop.inner:stem", "there is no module inner in shop"),
        ("nothing", "'nothing' does not name an application"),
        ("shop:sten", "the module shop has no sten; did you mean stem?"),
        ("shop:number", "shop:number is not an application, but an int.\n  Write shop:stem."),
    ],
)
def test_a_wrong_target_is_answered_with_the_right_one(cli, target, says):
    """A missing module, a missing attribute and a wrong type each say what to write."""
    with pytest.raises(ConfigurationError) as caught:
        find(target)
    assert all(part in str(caught.value) for part in says.split(".*"))


def test_a_missing_module_of_a_package_names_the_package(cli):
    """The error names the missing part, and a similar name."""
    cli.write("pack/__init__.py", "")
    cli.write("pack/tasks.py", SHOP)
    with pytest.raises(ConfigurationError, match="no module task in pack; did you mean tasks"):
        find("pack.task:stem")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\ny = {}['nope']\n", "KeyError: 'nope'\n  at .*broken.py:2"),
        ("def f(:\n", "SyntaxError: .*broken.py:1"),
        ("import no_such_library\n", "No module named 'no_such_library'\n  at .*broken.py:1"),
        ("raise SystemExit(3)\n", "SystemExit: 3\n  at .*broken.py:1"),
        (
            "from stem_amqp import Stem\nstem = Stem(broker_url='ampq://x')\n",
            "broken cannot be imported: STEM_BROKER_URL: .*broken.py:2",
        ),
    ],
)
def test_an_error_inside_the_module_shows_its_last_line(cli, source, says):
    """The line is from the user's code, not from the import machinery or stem-amqp."""
    cli.write("broken.py", source)
    with pytest.raises(ConfigurationError) as caught:
        find("broken:stem")
    text = str(caught.value)
    assert all(part in text for part in says.split(".*"))
    assert "--debug" in text


def test_a_mistake_in_the_topology_of_an_application_stays_what_it_is(cli):
    """The error itself names file, line and key, and the other mistakes."""
    cli.write("topology.yaml", "version: 1\nqueues:\n  orders: {prefech: 1}\n")
    cli.write("wrong.py", "from stem_amqp import Stem\nstem = Stem(topology='topology.yaml')\n")
    with pytest.raises(TopologyError, match=r"topology.yaml:3: queues.orders.prefech"):
        find("wrong:stem")


def test_options_come_before_the_applications_own_settings(cli):
    """Options take precedence, and names and topology follow them."""
    cli.write("topology.yaml", "version: 1\nnamespace: filed\nqueues:\n  emails:\n")
    app = load("shop:stem", Overrides(topology="topology.yaml", more={"grace_period": 7.0}))
    assert app.settings.grace_period == 7
    assert app.names.work("emails") == "filed.emails"
    assert set(app.queues) == {"emails", "orders"}
    app = load("shop:stem", Overrides(namespace="typed", broker_url="memory://other"))
    assert app.names.namespace == "typed"
    assert app.settings.broker_url[0].get_secret_value() == "memory://other"


def test_without_an_application_the_settings_are_enough(cli, monkeypatch):
    """Commands that need no tasks take their settings from the environment."""
    monkeypatch.setenv("STEM_NAMESPACE", "staging")
    app = load(None, Overrides(broker_url="memory://", more={"result_ttl": 60.0, "prefetch": None}))
    assert app.names.namespace == "staging"
    assert app.settings.result_ttl == 60


def test_a_misspelt_variable_is_reported(cli, monkeypatch):
    """Every command warns of a variable that is no setting."""
    monkeypatch.setenv("STEM_BROKERURL", "amqp://elsewhere/")
    ran = cli("tasks", "shop:stem")
    assert ran.code == 0
    assert "warning: STEM_BROKERURL is not a setting; did you mean STEM_BROKER_URL?" in ran.err
