"""ROS 2 node: ``sensor_msgs/Image`` in; label image, ``vision_msgs`` detections, legend and diagnostics out.

    python demo/robot/node.py --ros-args -p folder:=exports/maskclip -p words:="red star, grass" \\
        -r image:=/camera/image_raw

Requires rclpy, sensor_msgs, std_msgs, std_srvs, diagnostic_msgs and vision_msgs of a ROS 2 installation, and numpy,
onnxruntime and Pillow; no torch. Everything that can be tested without ROS is in ``core.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from ovperc import runtime

try:
    from ovperc_msgs.srv import SetWords
except ImportError:  # without demo/robot/ovperc_msgs the parameters and the topic are still available
    SetWords = None

sys.path.insert(0, str(Path(__file__).parent))
from core import Answer, SegmentationCore, decode_image

_PERIOD_S = 1.0


class SegmentNode(Node):
    """Topics: ``image`` in; ``labels`` (mono16), ``detections``, ``legend`` (JSON, latched), ``/diagnostics`` out.

    The vocabulary is the parameter ``words`` (and ``background``): set it at any time, call the service ``set_words``,
    or publish a string on ``words``. The service ``get_legend`` returns the current class names.
    """

    def __init__(self) -> None:
        super().__init__("ovperc_segment")
        declare = self.declare_parameter
        folder = declare("folder", "").value
        words, background = declare("words", "").value, declare("background", "").value
        threads, providers = declare("threads", 0).value, declare("providers", "cpu").value
        if not folder or not words:
            raise ValueError("the parameters 'folder' (an exported folder) and 'words' are required")
        model = runtime.load(folder, providers=providers, threads=threads or None)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._labels = self.create_publisher(Image, "labels", 1)
        self._detections = self.create_publisher(Detection2DArray, "detections", 1)
        self._legend = self.create_publisher(String, "legend", latched)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._core = SegmentationCore(
            model,
            self._publish,
            on_error=lambda _, error: self.get_logger().error(str(error), throttle_duration_sec=5.0),
            min_area_px=declare("min_area_px", 64).value,
            max_latency_s=declare("max_latency_s", 0.5).value,
        )
        done, message = self._core.set_words(words, background)
        if not done:
            raise ValueError(message)
        self._legend.publish(String(data=self._core.legend()))
        self.add_on_set_parameters_callback(self._parameters_changed)
        self.create_subscription(String, "words", self._words_said, 1)
        self.create_subscription(Image, "image", self._image_came, qos_profile_sensor_data)
        self.create_service(Trigger, "get_legend", self._legend_asked)
        if SetWords is not None:
            self.create_service(SetWords, "set_words", self._words_asked)
        self.create_timer(_PERIOD_S, self._report)

    def destroy_node(self) -> None:
        """Stops the core, then the node."""
        self._core.close()
        super().destroy_node()

    def _image_came(self, message: Image) -> None:
        try:
            frame = decode_image(bytes(message.data), message.height, message.width, message.encoding, message.step)
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._core.push(frame, message.header)

    def _publish(self, answer: Answer) -> None:
        self._labels.publish(label_message(answer))
        self._detections.publish(detection_message(answer))

    def _words_said(self, message: String) -> None:
        (result,) = self.set_parameters([Parameter("words", Parameter.Type.STRING, message.data)])
        if not result.successful:
            self.get_logger().error(result.reason)

    def _words_asked(self, request: SetWords.Request, response: SetWords.Response) -> SetWords.Response:
        wanted = {"words": request.words, "background": request.background}
        result = self.set_parameters_atomically(
            [Parameter(name, Parameter.Type.STRING, value) for name, value in wanted.items()]
        )
        response.success = result.successful
        response.message = ", ".join(self._core.names) if result.successful else result.reason
        return response

    def _parameters_changed(self, parameters: list[Parameter]) -> SetParametersResult:
        changed = {parameter.name: parameter.value for parameter in parameters}
        if not changed.keys() & {"words", "background"}:
            return SetParametersResult(successful=True)
        words = changed.get("words", self.get_parameter("words").value)
        background = changed.get("background", self.get_parameter("background").value)
        done, message = self._core.set_words(words, background)
        if done:
            self._legend.publish(String(data=self._core.legend()))
        return SetParametersResult(successful=done, reason="" if done else message)

    def _legend_asked(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, self._core.legend()
        return response

    def _report(self) -> None:
        state = self._core.diagnostics()
        figures = {
            "answered": state.answered,
            "skipped": state.skipped,
            "failed": state.failed,
            "latency_ms": f"{state.latency_ms:.1f}",
            "worst_latency_ms": f"{state.worst_latency_ms:.1f}",
        }
        status = DiagnosticStatus(
            level=bytes([state.level]),
            name=self.get_fully_qualified_name(),
            message=state.message,
            values=[KeyValue(key=key, value=str(value)) for key, value in figures.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def label_message(answer: Answer) -> Image:
    """Labels as a ``mono16`` image with the header of its frame."""
    labels = answer.prediction.labels.astype("<u2")
    height, width = labels.shape
    message = Image(height=height, width=width, encoding="mono16", is_bigendian=0, step=2 * width)
    message.header = answer.stamp
    message.data = labels.tobytes()
    return message


def detection_message(answer: Answer) -> Detection2DArray:
    """One detection per connected region, with class name and mean confidence."""
    message = Detection2DArray(header=answer.stamp)
    for region in answer.regions:
        x0, y0, x1, y1 = region.box
        detection = Detection2D(header=answer.stamp)
        detection.bbox.center.position.x, detection.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = region.name, region.score
        detection.results.append(hypothesis)
        message.detections.append(detection)
    return message


def main() -> None:
    """Runs the node until it is stopped."""
    rclpy.init()
    node = SegmentNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
