"""The servers that Headrace stands on, run from Maven's jars and from a wheel: no container engine, no root needed."""
