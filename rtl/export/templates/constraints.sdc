# Constraints for @TOP@: a start, to be replaced by what the surrounding design gives.
# The clock is the configuration's, @MHZ@ MHz; inputs arrive and outputs are needed within 30 % of its period.
create_clock -name clk -period @PERIOD@ [get_ports clk]
set_clock_uncertainty @UNCERTAINTY@ [get_clocks clk]
set_input_delay @IO_DELAY@ -clock clk [get_ports {
@INPUTS@
}]
set_output_delay @IO_DELAY@ -clock clk [all_outputs]
# rst is synchronous: it is timed like every other input. There is no other clock, no false and no multicycle path.
