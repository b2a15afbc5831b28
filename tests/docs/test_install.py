"""What the guide says of installing is what was measured."""

import json
import re

from benchmarks import install


def test_the_guide_says_what_the_record_says():
    found = json.loads(install.OUTPUT.read_text())
    text = install.PAGE.read_text()
    assert re.findall(r"<!-- measured -->\n(.*?)\n<!-- end of measured -->", text, re.DOTALL) == [install.words(found)]
    assert found["commit"] and found["hardware"] and "cpu" in found["torch_installed"]
    assert found["download"]["torch_bytes"] < 0.25e9 and found["notebook"]["peak_bytes"] < 1.5e9
