// Runs one layer on eie_array: loads load.hex through the I/O port, starts, prints cycles, activations and counters.
// With COMPARE, activations and cycles are held to expected.hex and EXPECTED_CYCLES; the last line is PASS or FAIL.
// The SRAMs are initialised from their image files, in the folder in which the simulation runs.
module eie_array_tb;
@PARAMETERS@
    localparam SPACE_BITS = 4;
    localparam [SPACE_BITS-1:0] ACC = 4, COUNTER = 6;

    reg clk = 0, rst = 1, start = 0, io_write = 0, io_read = 0;
    reg [SPACE_BITS-1:0] io_space = 0;
    reg [PE_BITS-1:0] io_pe = 0;
    reg [ADDR_BITS-1:0] io_addr = 0;
    reg [DATA_BITS-1:0] io_data = 0;
    wire busy, done;
    wire [31:0] cycles, broadcast_stalls;
    wire [DATA_BITS-1:0] io_rdata;

    eie_array dut (
        .clk(clk), .rst(rst), .start(start), .busy(busy), .done(done),
        .cycles(cycles), .broadcast_stalls(broadcast_stalls), .refill_cycles(), .writeback_cycles(), .current_pass(),
        .io_write(io_write), .io_read(io_read), .io_space(io_space), .io_pe(io_pe), .io_addr(io_addr),
        .io_data(io_data), .io_rdata(io_rdata)
    );

    always #1 clk = !clk;

    // One write a word: space, PE, address, data.
    reg [SPACE_BITS+PE_BITS+ADDR_BITS+DATA_BITS-1:0] load [0:WRITES-1];
    wire signed [ACT_BITS-1:0] activation = io_rdata[ACT_BITS-1:0];
    reg signed [ACT_BITS-1:0] expected [0:ROWS-1];
    integer i, differences = 0;

    // A read takes two cycles; the word is there in the third.
    task read(input [SPACE_BITS-1:0] space, input integer pe, input integer addr);
        begin
            io_read = 1;
            io_space = space;
            io_pe = pe[PE_BITS-1:0];
            io_addr = addr[ADDR_BITS-1:0];
            repeat (2) @(negedge clk);
        end
    endtask

    initial begin
        $readmemh("load.hex", load);
        if (COMPARE) $readmemh("expected.hex", expected);
        repeat (2) @(negedge clk);
        rst = 0;
        for (i = 0; i < WRITES; i = i + 1) begin
            io_write = 1;
            {io_space, io_pe, io_addr, io_data} = load[i];
            @(negedge clk);
        end
        io_write = 0;
        start = 1;
        @(negedge clk);
        start = 0;
        // Not until busy falls: busy is decoded from the mode and may glitch, done is a register.
        while (!done) @(negedge clk);
        $display("done %b", done);
        $display("cycles %0d", cycles);
        if (COMPARE && cycles !== EXPECTED_CYCLES) begin
            $display("expected: cycles %0d", EXPECTED_CYCLES);
            differences = differences + 1;
        end
        $display("broadcast_stalls %0d", broadcast_stalls);
        for (i = 0; i < ROWS; i = i + 1) begin
            read(ACC, i % N_PE, i / N_PE);
            $display("y %0d %0d", i, activation);
            if (COMPARE && activation !== expected[i]) begin
                $display("expected: y %0d %0d", i, expected[i]);
                differences = differences + 1;
            end
        end
        // Counters of each PE in the order of eie.schema.PeCounter.
        for (i = 0; i < COUNTERS * N_PE; i = i + 1) begin
            read(COUNTER, i / COUNTERS, i % COUNTERS);
            $display("counter %0d %0d %0d", i / COUNTERS, i % COUNTERS, io_rdata[31:0]);
        end
        if (differences != 0) begin
            $display("FAIL: %0d differences", differences);
`ifdef __ICARUS__
            $finish_and_return(1);
`endif
        end else if (COMPARE) $display("PASS");
        $finish(0);
    end
endmodule
