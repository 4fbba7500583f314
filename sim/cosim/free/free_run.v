// Drives @TOP@ from a program, with the clock in here: between the first and the last cycle only the simulator runs.
//
// program.txt has a line for each step: code, number, inputs (hexadecimal, side by side, the first in the high bits).
//   0  drive the inputs for `number` cycles
//   1  drive the inputs until `@UNTIL@`, at least one cycle; after `number` cycles give up
//   2  write the outputs as they are now to results.txt: cycles since the start, and all of them side by side;
//      number 1: as they were in the last cycle of the latest wait, before `@UNTIL@`
//   3  begin to dump every signal below this module into the file `activity.dump`
// A cycle goes from one falling edge to the next. The last line of results.txt is "end", or "late" after giving up,
// and the cycles of the whole run.
module free_run;
    localparam INPUTS = @INPUT_BITS@;
    localparam OUTPUTS = @OUTPUT_BITS@;

    reg clk = 0, rst = 1;
    reg [INPUTS-1:0] inputs = 0, next = 0;
    wire [OUTPUTS-1:0] outputs;
    reg [OUTPUTS-1:0] waiting;
@WIRES@
    assign {@INPUT_NAMES@} = inputs;
    assign outputs = {@OUTPUT_NAMES@};

    @TOP@ dut (
        .clk(clk),
        .rst(rst),
@CONNECTIONS@
    );

    always #1 clk = !clk;

    integer steps, results, got, code;
    reg [31:0] number, waited, cycle = 0;
    always @(posedge clk) cycle = cycle + 1;

    initial begin
        steps = $fopen("program.txt", "r");
        results = $fopen("results.txt", "w");
        repeat (2) @(negedge clk);
        rst = 0;
        code = 2;
        got = $fscanf(steps, "%h %h %h", code, number, next);
        while (got == 3) begin
            if (code == 2) $fwrite(results, "%h %h\n", cycle, number == 1 ? waiting : outputs);
            else if (code == 3) begin
                $dumpfile("activity.dump");
                $dumpvars(0, free_run);
            end else begin
                inputs = next;
                if (code == 0) repeat (number) @(negedge clk);
                else begin
                    waiting = outputs;
                    @(negedge clk);
                    waited = 1;
                    while (@UNTIL@ !== 1'b1 && waited < number) begin
                        waiting = outputs;
                        @(negedge clk);
                        waited = waited + 1;
                    end
                    if (@UNTIL@ !== 1'b1) begin
                        $fwrite(results, "late %h\n", cycle);
                        $fclose(results);
                        $finish;
                    end
                end
            end
            got = $fscanf(steps, "%h %h %h", code, number, next);
        end
        $fwrite(results, "end %h\n", cycle);
        $fclose(results);
        $finish;
    end
endmodule
