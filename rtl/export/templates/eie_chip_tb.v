// Drives eie_chip by its AXI ports: identification and N_PE by AXI4-Lite, a WRITE and a READ packet, a bad packet,
// and that CLEAR_ERROR ends its error. The last line is PASS or FAIL. Offsets and codes are those of eie_regs.h.
module eie_chip_tb;
@PARAMETERS@

    reg clk = 0, rst = 1;
    reg awvalid = 0, wvalid = 0, bready = 0, arvalid = 0, rready = 0, tvalid = 0, tlast = 0, mready = 0;
    reg [LITE_BITS-1:0] awaddr = 0, araddr = 0;
    reg [31:0] wdata = 0;
    reg [STREAM_BITS-1:0] tdata = 0;
    wire awready, wready, bvalid, arready, rvalid, tready, mvalid, mlast, irq;
    wire [1:0] bresp, rresp;
    wire [31:0] rdata;
    wire [STREAM_BITS-1:0] mdata;

    eie_chip dut (
        .clk(clk), .rst(rst), .irq(irq),
        .s_axil_awvalid(awvalid), .s_axil_awready(awready), .s_axil_awaddr(awaddr), .s_axil_awprot(3'b0),
        .s_axil_wvalid(wvalid), .s_axil_wready(wready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hf),
        .s_axil_bvalid(bvalid), .s_axil_bready(bready), .s_axil_bresp(bresp),
        .s_axil_arvalid(arvalid), .s_axil_arready(arready), .s_axil_araddr(araddr), .s_axil_arprot(3'b0),
        .s_axil_rvalid(rvalid), .s_axil_rready(rready), .s_axil_rdata(rdata), .s_axil_rresp(rresp),
        .s_axis_tvalid(tvalid), .s_axis_tready(tready), .s_axis_tdata(tdata), .s_axis_tlast(tlast),
        .m_axis_tvalid(mvalid), .m_axis_tready(mready), .m_axis_tdata(mdata), .m_axis_tlast(mlast)
    );

    always #2 clk = !clk;

    integer i, differences = 0;
    reg taken, other;
    reg [31:0] word;

    task compare(input integer found, input integer right, input [8*16-1:0] what);
        if (found !== right) begin
            $display("expected: %0s %0d, found %0d", what, right, found);
            differences = differences + 1;
        end
    endtask

    // Inputs change at the falling edge; ready and valid are looked at before the rising one.
    task read_register(input [LITE_BITS-1:0] address);
        begin
            araddr = address; arvalid = 1; taken = 0;
            while (!taken) begin #1 taken = arready; @(negedge clk); end
            arvalid = 0; rready = 1; taken = 0;
            while (!taken) begin #1 taken = rvalid; word = rdata; @(negedge clk); end
            rready = 0;
        end
    endtask

    task write_register(input [LITE_BITS-1:0] address, input [31:0] value);
        begin
            awaddr = address; wdata = value; awvalid = 1; wvalid = 1;
            while (awvalid || wvalid) begin
                #1 taken = awready; other = wready;
                @(negedge clk);
                if (taken) awvalid = 0;
                if (other) wvalid = 0;
            end
            bready = 1; taken = 0;
            while (!taken) begin #1 taken = bvalid; @(negedge clk); end
            bready = 0;
        end
    endtask

    task send(input [STREAM_BITS-1:0] value, input last);
        begin
            tdata = value; tlast = last; tvalid = 1; taken = 0;
            while (!taken) begin #1 taken = tready; @(negedge clk); end
            tvalid = 0;
        end
    endtask

    // A word for each PE, and the same words back.
    task write_and_read(input integer first);
        begin
            send(WRITE_ACC | N_PE << COUNT_SHIFT, 0);
            for (i = 0; i < N_PE; i = i + 1) send(first + i, i == N_PE - 1);
            send(READ_ACC | N_PE << COUNT_SHIFT, 1);
            for (i = 0; i < N_PE; i = i + 1) begin
                mready = 1; taken = 0;
                while (!taken) begin #1 taken = mvalid; word = mdata[31:0]; other = mlast; @(negedge clk); end
                mready = 0;
                compare(word, first + i, "word");
                compare(other, i == N_PE - 1, "TLAST");
            end
        end
    endtask

    initial begin
        repeat (2) @(negedge clk);
        rst = 0;
        read_register(ID);
        compare(word, ID_VALUE, "ID");
        read_register(N_PE_REGISTER);
        compare(word, N_PE, "N_PE");
        write_and_read(100);
        write_register(IRQ_ENABLE, IRQ_ERROR);
        send(WRITE_ACC, 1);
        word = STREAM;
        while (word & STREAM) read_register(STATUS);
        read_register(ERROR_CODE);
        compare(word, ERROR_COUNT, "ERROR_CODE");
        compare(irq, 1, "irq");
        write_register(CONTROL, CLEAR_ERROR);
        read_register(ERROR_CODE);
        compare(word, 0, "ERROR_CODE");
        write_and_read(1000);
        finish;
    end

    initial begin
        #LIMIT $display("expected: an end after %0d cycles", LIMIT / 4);
        differences = differences + 1;
        finish;
    end

    task finish;
        begin
            if (differences != 0) begin
                $display("FAIL: %0d differences", differences);
`ifdef __ICARUS__
                $finish_and_return(1);
`endif
            end else $display("PASS");
            $finish(0);
        end
    endtask
endmodule
