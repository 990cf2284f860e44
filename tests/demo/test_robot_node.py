"""The ROS 2 node on stand-ins for rclpy and its messages: topics, parameters and services, and the launch file."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from ovperc import runtime
from ovperc.tasks.segmentation.prediction import SegPrediction

_ROBOT = Path(__file__).parents[2] / "demo" / "robot"


class Message(SimpleNamespace):
    """A message of any kind: fields appear when they are written to or read."""

    def __getattr__(self, name: str):
        value = [] if name in ("results", "detections") else Message()
        setattr(self, name, value)
        return value


class Parameter:
    """As rclpy's."""

    class Type:
        STRING = 4

    def __init__(self, name: str, kind: int, value: str) -> None:
        self.name, self.value = name, value


class FakeNode:
    """What the node asks of ``rclpy.node.Node``; keeps what was made."""

    given: ClassVar[dict[str, object]] = {}

    def __init__(self, name: str) -> None:
        self.parameters, self.published, self.services, self.topics, self.log = {}, {}, {}, {}, []

    def declare_parameter(self, name: str, default: object) -> Message:
        self.parameters[name] = Message(value=self.given.get(name, default))
        return self.parameters[name]

    def get_parameter(self, name: str) -> Message:
        return self.parameters[name]

    def add_on_set_parameters_callback(self, callback) -> None:
        self.callback = callback

    def set_parameters_atomically(self, changed: list[Parameter]) -> Message:
        result = self.callback(changed)
        if result.successful:
            for parameter in changed:
                self.parameters[parameter.name].value = parameter.value
        return result

    def set_parameters(self, changed: list[Parameter]) -> list[Message]:
        return [self.set_parameters_atomically([parameter]) for parameter in changed]

    def create_publisher(self, kind, topic: str, quality) -> SimpleNamespace:
        self.published[topic] = []
        return SimpleNamespace(publish=self.published[topic].append)

    def create_subscription(self, kind, topic: str, callback, quality) -> None:
        self.topics[topic] = callback

    def create_service(self, kind, name: str, callback) -> None:
        self.services[name] = callback

    def create_timer(self, period: float, callback) -> None:
        self.timer = callback

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(error=lambda text, **_: self.log.append(text))

    def get_fully_qualified_name(self) -> str:
        return "/ovperc_segment"

    def get_clock(self) -> Message:
        return Message(now=lambda: Message(to_msg=lambda: "now"))

    def destroy_node(self) -> None:
        self.destroyed = True


class BrightModel:
    """Two classes by brightness."""

    names: tuple[str, ...] = ()

    def set_words(self, words: str, background: str | None = None) -> None:
        if not words:
            raise ValueError("the words are empty")
        self.names = tuple(words.split(", "))

    def predict(self, image: np.ndarray) -> SegPrediction:
        labels = (image[:, :, 0] > 127).astype(np.uint16)
        return SegPrediction(labels, np.full(labels.shape, 0.75, np.float32), self.names)


def _stand_ins(with_service: bool) -> dict[str, ModuleType | None]:
    """Modules of a ROS 2 installation by name."""
    status = type("DiagnosticStatus", (Message,), {"OK": b"\0", "WARN": b"\1", "ERROR": b"\2"})
    contents = {
        "rclpy": {},
        "rclpy.node": {"Node": FakeNode},
        "rclpy.parameter": {"Parameter": Parameter},
        "rclpy.qos": {
            "DurabilityPolicy": SimpleNamespace(TRANSIENT_LOCAL=1),
            "QoSProfile": Message,
            "qos_profile_sensor_data": 0,
        },
        "diagnostic_msgs.msg": {"DiagnosticArray": Message, "DiagnosticStatus": status, "KeyValue": Message},
        "rcl_interfaces.msg": {"SetParametersResult": Message},
        "sensor_msgs.msg": {"Image": Message},
        "std_msgs.msg": {"String": Message},
        "std_srvs.srv": {"Trigger": SimpleNamespace(Request=Message, Response=Message)},
        "vision_msgs.msg": dict.fromkeys(("Detection2D", "Detection2DArray", "ObjectHypothesisWithPose"), Message),
    }
    modules: dict[str, ModuleType | None] = {"ovperc_msgs": None}
    if with_service:
        contents["ovperc_msgs.srv"] = {"SetWords": SimpleNamespace(Request=Message, Response=Message)}
        modules = {}
    for name, members in contents.items():
        modules.setdefault(name.partition(".")[0], ModuleType(name.partition(".")[0]))
        modules[name] = modules[name] if name in modules else ModuleType(name)
        vars(modules[name]).update(members)
    return modules


def _load(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _ROBOT / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_node(monkeypatch):
    """Starts a node with some parameters; closed at the end."""
    made = []

    def make(with_service: bool = True, **parameters):
        for name, module in _stand_ins(with_service).items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(runtime, "load", lambda folder, **_: BrightModel())
        monkeypatch.setattr(FakeNode, "given", parameters)
        monkeypatch.setattr(sys, "path", list(sys.path))
        made.append(_load("robot_node", "node.py").SegmentNode())
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()
    sys.modules.pop("core", None)


def _wait(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _image() -> Message:
    frame = np.zeros((20, 30, 3), np.uint8)
    frame[5:15, 10:25] = 255
    return Message(data=frame.tobytes(), height=20, width=30, encoding="bgr8", step=90, header="stamp")


def test_an_image_becomes_labels_detections_and_diagnostics(make_node) -> None:
    node = make_node(folder="f", words="floor, lamp", min_area_px=10)
    node.topics["image"](_image())
    _wait(lambda: node.published["detections"])
    (labels,), (detections,) = node.published["labels"], node.published["detections"]
    values = np.frombuffer(labels.data, "<u2").reshape(20, 30)
    assert (labels.header, labels.encoding, labels.step) == ("stamp", "mono16", 60)
    assert values[10, 15] == 1 and values[0, 0] == 0
    names = [detection.results[0].hypothesis.class_id for detection in detections.detections]
    assert names == ["floor", "lamp"]
    box = detections.detections[1].bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (17.5, 10.0, 15.0, 10.0)
    node.timer()
    assert node.published["/diagnostics"][0].status[0].level == b"\0"
    node.topics["image"](Message(data=b"", height=1, width=1, encoding="32FC1", step=4, header="bad"))
    assert "32FC1" in node.log[0]


def test_words_by_service_parameter_and_topic(make_node) -> None:
    node = make_node(folder="f", words="floor, lamp")
    answer = node.services["set_words"](Message(words="chair, cup", background=""), Message())
    assert answer.success and answer.message == "chair, cup"
    assert node.get_parameter("words").value == "chair, cup"
    answer = node.services["set_words"](Message(words="", background=""), Message())
    assert not answer.success and "empty" in answer.message
    assert node.set_parameters([Parameter("words", 4, "sky, sea")])[0].successful
    node.topics["words"](Message(data="tree, sea"))
    node.topics["words"](Message(data=""))
    assert "empty" in node.log[-1]
    legend = node.services["get_legend"](Message(), Message())
    assert [entry["name"] for entry in json.loads(legend.message)] == ["tree", "sea"]
    told = [json.loads(message.data)[0]["name"] for message in node.published["legend"]]
    assert told == ["floor", "chair", "sky", "tree"]


def test_without_its_service_type_the_node_runs_too(make_node) -> None:
    node = make_node(with_service=False, folder="f", words="floor, lamp")
    assert set(node.services) == {"get_legend"}


@pytest.mark.parametrize("parameters", [{}, {"folder": "f"}, {"words": "floor"}])
def test_missing_parameters_are_named(make_node, parameters: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"'folder'.*'words' are required"):
        make_node(**parameters)


def test_launch_passes_words_as_strings(monkeypatch) -> None:
    """Words such as ``no`` stay words: every string parameter is quoted."""
    launched = {}
    parts = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": lambda name, **_: name,
            "ExecuteProcess": lambda cmd, **_: launched.setdefault("command", cmd),
        },
        "launch.substitutions": {"LaunchConfiguration": lambda name: f"<{name}>"},
    }
    for name, members in parts.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    _load("robot_launch", "segment.launch.py").generate_launch_description()
    texts = ["".join(part) if isinstance(part, list) else part for part in launched["command"]]
    assert texts[1].endswith("node.py")
    assert "words:='<words>'" in texts and "threads:=<threads>" in texts and "image:=<image>" in texts
