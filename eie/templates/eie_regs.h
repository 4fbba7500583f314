{% macro define(name, value, meaning="") %}
#define EIE_{{ name }} {{ value }}{% if meaning %} /* {{ meaning | replace("`", "") | replace("*/", "")
}} */{% endif +%}
{% endmacro %}
{% macro fields(prefix, found, suffix) %}
{% for bits in found %}
{{ define(prefix ~ "_" ~ bits.name ~ "_SHIFT", bits.low, bits.meaning) -}}
{{ define(prefix ~ "_" ~ bits.name ~ "_MASK", "0x%x%s" % (bits.mask, suffix)) -}}
{% endfor %}
{% endmacro %}
{% macro numbers(prefix, members) %}
{% for member in members %}
{{ define(prefix ~ "_" ~ member.name, "%du" % member.value) -}}
{% endfor %}
{% endmacro %}
/* Registers and packets of eie_chip; generated, do not edit. */
#ifndef EIE_REGS_H
#define EIE_REGS_H

#include <stdint.h>

{{ define("ADDR_BITS", LITE_ADDR_BITS) }}
/* Registers: byte offsets and fields */
{% for reg in Reg %}
{{ define(reg.name, "0x%03xu" % reg.offset, reg.access.value ~ ": " ~ reg.value.meaning) -}}
{{ fields(reg.name, reg.value.fields, "u") -}}
{% endfor %}
{{ define("ID_VALUE", "0x%08xu" % MAGIC) -}}
{{ define("VERSION_VALUE", "0x%08xu" % VERSION) }}
/* Pass table: register r of pass p */
#define EIE_PASS_TABLE(p, r) ({{ "0x%04x" % PASS_TABLE }}u + {{ PASS_LINE }}u * (p) + 4u * (r))
{% for register, meaning in PASS_MEANINGS.items() %}
{{ define("PASS_" ~ register.name, "%du" % register.value, meaning) -}}
{% endfor %}
{{ numbers("WB_TARGET", WbTarget) }}
/* Packets: header word */
{{ fields("HEADER", HEADER_FIELDS, "ull") -}}
{{ numbers("COMMAND", Command) -}}
{{ numbers("SPACE", IoSpace) -}}
{{ numbers("COUNTER", PeCounter) }}
/* ERROR_CODE */
{% for code in ErrorCode %}
{{ define("ERROR_" ~ code.name, "%du" % code.value, code.meaning) -}}
{% endfor %}
{% if cfg %}

/* This instance */
{% for reg in Reg if reg.value.reset is callable %}
{{ define(reg.name ~ "_VALUE", "0x%08xu" % reg.reset_value(cfg), reg.value.meaning) -}}
{% endfor %}
{% for field in config_fields %}
{{ define("PASS_" ~ field.name.upper() ~ "_BITS", field.width) -}}
{% endfor %}
{% endif %}

static inline uint64_t eie_header(unsigned command, unsigned space, unsigned spread, unsigned pe, uint32_t addr,
                                  uint32_t count)
{
    return (uint64_t)space << EIE_HEADER_SPACE_SHIFT | (uint64_t)command << EIE_HEADER_COMMAND_SHIFT |
           (uint64_t)spread << EIE_HEADER_SPREAD_SHIFT | (uint64_t)pe << EIE_HEADER_PE_SHIFT |
           (uint64_t)addr << EIE_HEADER_ADDR_SHIFT | (uint64_t)count << EIE_HEADER_COUNT_SHIFT;
}

#endif
