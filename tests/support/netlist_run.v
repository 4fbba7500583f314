// Drives the buses of a synthesised eie_chip from a script: between the first and the last cycle only Icarus runs.
//
// script.txt has a line for each step: code and value (hexadecimal).
//   0  send the word on the command stream; 1 with TLAST
//   2  write the next word of the result stream to results.txt
//   3  read the register at this offset, and write its word
// The last line of results.txt is "end", or "late" if a step took too long.
module netlist_run;
    localparam LATE = @LATE@;

    reg clk = 0, rst = 1;
    always #1 clk = !clk;

    reg [@STREAM_BITS@-1:0] word = 0;
    reg last = 0, valid = 0, take = 0, read = 0;
    reg [@LITE_BITS@-1:0] offset = 0;
    wire ready, result_valid, read_ready, data_valid;
    wire [@STREAM_BITS@-1:0] result;
    wire [31:0] data;

    eie_chip chip (
        .clk(clk), .rst(rst),
        .s_axis_tdata(word), .s_axis_tlast(last), .s_axis_tvalid(valid), .s_axis_tready(ready),
        .m_axis_tdata(result), .m_axis_tvalid(result_valid), .m_axis_tready(take), .m_axis_tlast(),
        .s_axil_araddr(offset), .s_axil_arprot(3'd0), .s_axil_arvalid(read), .s_axil_arready(read_ready),
        .s_axil_rdata(data), .s_axil_rresp(), .s_axil_rvalid(data_valid), .s_axil_rready(1'b1),
        .s_axil_awaddr(@LITE_BITS@'d0), .s_axil_awprot(3'd0), .s_axil_awvalid(1'b0), .s_axil_awready(),
        .s_axil_wdata(32'd0), .s_axil_wstrb(4'd0), .s_axil_wvalid(1'b0), .s_axil_wready(),
        .s_axil_bresp(), .s_axil_bvalid(), .s_axil_bready(1'b1), .irq()
    );

    integer steps, results, got, code, waited;
    reg [@STREAM_BITS@-1:0] value;

    // Everything changes at the falling edge; the chip's outputs are registers, so that what is seen there holds at
    // the rising edge behind it.
    task wait_for(input integer what);
        begin
            waited = 0;
            while (waited < LATE && !(what == 0 ? ready : what == 1 ? result_valid : what == 2 ? read_ready : data_valid)) begin
                @(negedge clk);
                waited = waited + 1;
            end
            if (waited == LATE) begin
                $fwrite(results, "late\n");
                $fclose(results);
                $finish;
            end
        end
    endtask

    initial begin
        steps = $fopen("script.txt", "r");
        results = $fopen("results.txt", "w");
        repeat (3) @(negedge clk);
        rst = 0;
        got = $fscanf(steps, "%h %h", code, value);
        while (got == 2) begin
            case (code)
                0, 1: begin
                    word = value;
                    last = code;
                    valid = 1;
                    wait_for(0);
                    @(negedge clk) valid = 0;
                end
                2: begin
                    wait_for(1);
                    $fwrite(results, "%h\n", result);
                    take = 1;
                    @(negedge clk) take = 0;
                end
                3: begin
                    offset = value;
                    read = 1;
                    wait_for(2);
                    @(negedge clk) read = 0;
                    wait_for(3);
                    $fwrite(results, "%h\n", data);
                    @(negedge clk);
                end
            endcase
            got = $fscanf(steps, "%h %h", code, value);
        end
        $fwrite(results, "end\n");
        $fclose(results);
        $finish;
    end
endmodule
