//! Tests of the connector against the simulator.
