"""Fields made from a plugin's schema: what is shown of a configuration is what holds."""

from tollhouse.console.forms import Form
from tollhouse.console.schema_form import fields_of, fill_config, read_config

SCHEMA = {
    "properties": {
        "loud": {"type": "boolean", "default": True},
        "shy": {"type": "boolean", "default": False},
        "name": {"type": "string"},
    }
}


def test_a_switch_that_was_left_out_stands_as_its_default_does():
    fields = fields_of(SCHEMA)
    for stored in ({}, {"loud": True}, {"loud": False, "shy": True}):
        shown = fill_config(Form.of(), fields, stored)
        assert read_config(shown, fields) == {"loud": True, "shy": False, **stored}
