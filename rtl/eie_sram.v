// Single-ported synchronous memory: the behavioural model of the SRAMs beside each PE. Put a macro in its place.
//
// At the edge, en & we writes wdata to addr and leaves rdata as it is; en & !we puts the word at addr on rdata, where it
// stays until the next read; without en nothing happens. An address beyond the last word writes nothing and reads 0 in
// simulation; what it does in a synthesised memory is of no consequence, so that there nothing looks at it.
//
// The memory is read from the file INIT, if it has a name: in simulation after contents and rdata were set to 0, unless
// the run was given +eie_no_images, and in synthesis, where an FPGA's block RAM takes it.
module eie_sram #(
    parameter WIDTH = 64,
    parameter DEPTH = 16384,
    parameter ADDR_BITS = 14,
    parameter INIT = ""
) (
    input  wire                 clk,
    input  wire                 en,
    input  wire                 we,
    input  wire [ADDR_BITS-1:0] addr,
    input  wire [WIDTH-1:0]     wdata,
    output reg  [WIDTH-1:0]     rdata
);
    reg [WIDTH-1:0] mem [0:DEPTH-1];

`ifdef SYNTHESIS
    wire in_range = 1'b1;
    // No block raises we without en, and en comes late.
    wire write = we;
    initial if (INIT != "") $readmemh(INIT, mem);
`else
    wire in_range = {1'b0, addr} < DEPTH[ADDR_BITS:0];
    wire write = en & we;
    integer i;
    initial begin
        rdata = {WIDTH{1'b0}};
        for (i = 0; i < DEPTH; i = i + 1) mem[i] = {WIDTH{1'b0}};
        if (INIT != "" && !$test$plusargs("eie_no_images")) $readmemh(INIT, mem);
    end
`endif

    always @(posedge clk) begin
        if (en && !we) rdata <= in_range ? mem[addr] : {WIDTH{1'b0}};
        if (write && in_range) mem[addr] <= wdata;
    end
endmodule
