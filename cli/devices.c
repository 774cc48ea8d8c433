/* zimage devices: what could compute here, how fast it is, and what --device auto takes. */
#include "cli.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

static const char *kind_name(zi_device_kind kind)
{
    static const char *const names[] = {
        [ZI_DEVICE_CPU] = "processor",     [ZI_DEVICE_INTEGRATED] = "integrated",
        [ZI_DEVICE_DISCRETE] = "discrete", [ZI_DEVICE_VIRTUAL] = "virtual",
        [ZI_DEVICE_SOFTWARE] = "software", [ZI_DEVICE_OTHER] = "other"};
    return names[kind];
}

/* Prints a device in a few lines. */
static void print_device(const zi_device *d)
{
    printf("%-10s ", d->id);
    zi_print_text(d->name);
    printf(" (%s", kind_name(d->kind));
    if (*d->driver) {
        printf(", ");
        zi_print_text(d->driver);
    }
    puts(")");
    if (d->memory) printf("%-10s %.1f GB of memory\n", "", (double)d->memory * 1e-9);
    if (*d->features) printf("%-10s %s\n", "", d->features);
    if (*d->missing)
        printf("%-10s cannot be used: it lacks %s\n", "", d->missing);
    else
        printf("%-10s %.1f GFLOP/s in a product of matrices\n", "", d->flop_per_second * 1e-9);
}

static void print_text(const zi_devices *list)
{
    for (size_t i = 0; i < list->count; i++) print_device(&list->devices[i]);
    if (*list->no_vulkan) printf("%-10s none: %s\n", "vulkan", list->no_vulkan);
    printf("%-10s %s: %s\n", "auto", list->devices[list->chosen].id, list->reason);
}

/* A device as JSON; NULL: out of memory. */
static cJSON *device_json(const zi_device *d)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "id", d->id);
    cJSON_AddStringToObject(json, "name", d->name);
    cJSON_AddStringToObject(json, "kind", kind_name(d->kind));
    cJSON_AddStringToObject(json, "driver", d->driver);
    cJSON_AddNumberToObject(json, "memory_bytes", (double)d->memory);
    cJSON_AddStringToObject(json, "features", d->features);
    cJSON_AddStringToObject(json, "missing", d->missing);
    cJSON_AddNumberToObject(json, "gflops", d->flop_per_second * 1e-9);
    return json;
}

/* Prints the list as a JSON object on one line. False: out of memory. */
static bool print_json(const zi_devices *list)
{
    cJSON *json = cJSON_CreateObject(), *devices = cJSON_AddArrayToObject(json, "devices");
    for (size_t i = 0; i < list->count; i++)
        cJSON_AddItemToArray(devices, device_json(&list->devices[i]));
    cJSON_AddStringToObject(json, "no_vulkan", list->no_vulkan);
    cJSON_AddStringToObject(json, "auto", list->devices[list->chosen].id);
    cJSON_AddStringToObject(json, "reason", list->reason);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text) puts(text);
    free(text);
    return text != NULL;
}

int cmd_devices(int argc, char **argv)
{
    zi_engine_options engine = {.remark = zi_print_remark};
    bool json = false;
    const zi_option options[] = {
        {"threads", 0, ZI_OPTION_INT, &engine.threads, 1, 1024, "N",
         "number of threads of the processor (all processors)", NULL},
        zi_cpu_option(&engine.cpu),
        {"json", 0, ZI_OPTION_FLAG, &json, 0, 0, NULL, "print JSON", NULL},
        {0},
    };
    const zi_command command = {"devices",
                                "Lists what could compute here, measures the speed of each, and "
                                "says what --device auto takes.",
                                NULL, options};
    zi_devices *list = NULL;
    zi_error error = {0};
    int code;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    bool ok = zi_devices_list(&engine, &list, &error);
    if (ok && json)
        ok = print_json(list) || zi_error_set(&error, ZI_ERROR_NO_MEMORY, NULL, "out of memory");
    else if (ok)
        print_text(list);
    zi_devices_free(list);
    return ok ? 0 : zi_report_error(&command, &error);
}
