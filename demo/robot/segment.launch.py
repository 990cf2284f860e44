"""Starts the node: ``ros2 launch demo/robot/segment.launch.py folder:=exports/maskclip words:="red star, grass"``."""

from __future__ import annotations

import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

_ARGUMENTS = {
    "folder": (None, "exported folder"),
    "words": (None, "comma-separated classes, synonyms separated by |"),
    "background": ("", "background words or confidence threshold"),
    "image": ("/camera/image_raw", "image topic"),
    "providers": ("cpu", "cpu, cuda or tensorrt"),
    "threads": ("0", "CPU threads, 0 for all"),
}


def generate_launch_description() -> LaunchDescription:
    """Launches the node with its parameters as launch arguments."""
    declared = [
        DeclareLaunchArgument(name, description=text, **({} if default is None else {"default_value": default}))
        for name, (default, text) in _ARGUMENTS.items()
    ]
    command = [sys.executable, str(Path(__file__).parent / "node.py"), "--ros-args"]
    for name in ("folder", "words", "background", "providers", "threads"):
        # Quoted in YAML, so that words such as "no" or "1" remain strings.
        quote = "" if name == "threads" else "'"
        command += ["-p", [f"{name}:={quote}", LaunchConfiguration(name), quote]]
    command += ["-r", ["image:=", LaunchConfiguration("image")]]
    return LaunchDescription([*declared, ExecuteProcess(cmd=command, output="screen")])
