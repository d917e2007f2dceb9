/** @file
 * One line after the other. A comment needs no case of its own: no key of ours begins with "#".
 */
#include "boot/loader_conf.h"

struct loader_conf loader_conf_begin(struct text_slice text)
{
    return (struct loader_conf){.rest = text_without_byte_order_mark(text)};
}

boot_status loader_conf_read(struct loader_conf *conf, struct settings *settings)
{
    boot_status status = BOOT_OK;

    while (conf->rest.bytes > 0 && status == BOOT_OK) {
        conf->line++;
        conf->value = text_take_line(&conf->rest);
        struct text_slice key = text_take_word(&conf->value);
        status = settings_set_key(settings, key, conf->value);
    }
    return status;
}
